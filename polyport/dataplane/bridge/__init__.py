"""Linux bridges: one per network, a tap per port, one nftables table, a DHCP responder; in an own namespace.

driver      the protocol's calls; on the event loop
  |-- dhcp          answers guests; on the event loop
  |-- capture       what passes a tap, for people; on the event loop
  `-- switch        bridges, taps and rules; everything below here runs on the namespace's own thread
        |-- netlink     bridges, taps and their descriptors
        |     `-- rtnetlink  the kernel's messages
        |-- ruleset     what nftables holds, and the way from there to what it should hold
        |     |-- firewall  plans -> rules (pure)
        |     `-- nft       libnftables
        |-- drops       what rules have dropped, by port and cause
        `-- grouping    security groups in force
              |-- groups       plans of groups -> rules (pure)
              |-- members      who is in which group (pure)
              |-- states       where the kernel tracks connections
              `-- connections  those it tracks
"""
