"""watch = count ▶ detect ▶ cluster: what was heard in, alerts, incidents and commands out."""
