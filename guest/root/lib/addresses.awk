# From /proc/net/ipv6_route and `ip -o addr` to one line for each interface:
#
#   NAME IPV4-ADDRESSES IPV6-ADDRESSES ADVERTISED-IPV6-GATEWAYS
#
# lists joined by commas, "-" where empty, addresses with prefix length and without link-local ones. A gateway was
# advertised by a router where the route has the kernel's flag RTF_DEFAULT (0x10000).
FILENAME ~ /ipv6_route/ {
    if ($2 == "00" && substr($9, 4, 1) ~ /[13579bdf]/) {
        gateway = $5
        gsub(/..../, "&:", gateway)
        join(gateways, $10, substr(gateway, 1, 39))
    }
    next
}
$3 == "inet" { join(fours, $2, $4) }
$3 == "inet6" && $4 !~ /^fe80:/ { join(sixes, $2, $4) }
END { for (name in names) print name, listed(fours, name), listed(sixes, name), listed(gateways, name) }

function join(lists, name, text) {
    names[name]
    if (name in lists) lists[name] = lists[name] "," text
    else lists[name] = text
}

function listed(lists, name) { return name in lists ? lists[name] : "-" }
