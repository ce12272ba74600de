"""The drill: real runners are killed, stopped and answered with lies at random, and the promises must hold."""
