"""Cohort Sync: keeps WebEngage in step with Mixpanel cohorts."""
