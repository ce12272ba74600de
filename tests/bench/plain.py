"""The plain script everybody writes first: requests, json and pandas; what we are measured against."""

from __future__ import annotations

import json
import sys

import pandas as pd
import requests


def main() -> None:
    """Read a cohort into a data frame and compare it with itself, in memory."""
    base, cohort, project, username, secret = sys.argv[1:]
    session = requests.Session()
    session.trust_env, session.auth = False, (username, secret)
    form, rows = {"filter_by_cohort": json.dumps({"id": int(cohort)}), "include_all_users": "false"}, []
    while True:
        reply = session.post(f"{base}/api/query/engage", params={"project_id": project}, data=form, timeout=500).json()
        rows += [{"id": one["$distinct_id"], **one["$properties"]} for one in reply["results"]]
        if len(reply["results"]) < reply["page_size"]:
            break
        form |= {"session_id": reply["session_id"], "page": str(reply["page"] + 1)}
    now = pd.DataFrame(rows)[["id", "$email"]]
    same = now.merge(now, on=["id", "$email"])
    print(len(same))


if __name__ == "__main__":
    main()
