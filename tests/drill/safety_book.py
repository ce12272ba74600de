"""Change, in a round, who is exported: the never-export list, tripwires, limits of the guard."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from sync.guards import GuardLimits
from sync.model import USER_ID_MAX
from sync.service import Service

LISTED_AT_ONCE, TAKEN_OFF_AT_ONCE = 9, 4  # people
LIMITS = (0, 50, 100, 5000)  # people


@dataclass
class SafetyBook:
    """Keep who is on the never-export list, and change it."""

    random: random.Random
    tally: Counter[str]
    never: set[str] = field(default_factory=set)

    def change(self, service: Service, sync_id: int, members: list[str]) -> None:
        """Put people on the list or take them off, set a tripwire, or set the limits of the guard."""
        chosen = self.random.sample(members, min(LISTED_AT_ONCE, len(members)))
        chosen = [who for who in chosen if who.strip() and len(who) <= USER_ID_MAX]
        deed = self.random.choice(["list", "list", "unlist", "tripwire", "limits"])
        if deed == "list" and chosen:
            service.safety.add_never_export(None, chosen)
            self.never |= set(chosen)
        elif deed == "unlist" and self.never:
            gone = self.random.sample(sorted(self.never), min(TAKEN_OFF_AT_ONCE, len(self.never)))
            service.safety.remove_never_export(None, gone)
            self.never -= set(gone)
        elif deed == "tripwire" and chosen:
            service.safety.delete_tripwires([one.id for one in service.safety.list_tripwires()])
            cohort = service.syncs.get(sync_id).cohort_id
            service.safety.add_tripwires(None, self.random.choice([None, cohort]), chosen[:1])
        elif deed == "limits":
            people = self.random.choice(LIMITS)
            service.guards.set_limits(sync_id, GuardLimits(add_people=people, remove_people=people))
        self.tally[f"safety: {deed}"] += 1
