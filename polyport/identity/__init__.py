"""Who may call: domains, projects, users, roles and their assignments, tokens."""
