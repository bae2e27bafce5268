"""The small guest: a Linux image of a few megabytes that starts in seconds and tells what it sees.

`guest.build` makes it, `guest.channel` talks with it, `guest/root` is what runs inside.
"""
