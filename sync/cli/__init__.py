"""The command line's own words: how it answers, and the commands for those who run Cohort Sync."""
