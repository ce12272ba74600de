"""The drill: real runners are killed, stopped and lied to at random, and the promises must hold."""
