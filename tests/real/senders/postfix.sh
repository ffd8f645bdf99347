# Postfix: defers a refused greeting, and tells the sender of the delay.
packages=(postfix)

configure() {
    cat >"$root/etc/postfix/main.cf" <<'END'
compatibility_level = 3.6
myhostname = out1.example.net
mydestination = example.net
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_bind_address = 127.0.0.11
maillog_file = /var/log/postfix.log
alias_maps =
alias_database =
local_recipient_maps =
delay_warning_time = 1s
# One failure is enough to hold a destination for dead.
initial_destination_concurrency = 1
END
    # Nothing is received over the network, and nobody is in a chroot that would need its own resolv.conf.
    sed -E -e '/^smtp +inet/d' -e 's/^([a-z-]+ +(unix|unix-dgram) +\S+ +\S+ +)y /\1n /' \
        "$root/usr/share/postfix/master.cf.dist" >"$root/etc/postfix/master.cf"
}

# What it remembers of a destination, and notices on their way, would meet the next error.
start_afresh() {
    if [[ -s $root/var/spool/postfix/pid/master.pid ]]; then
        inside postfix abort 2>/dev/null
        (cd "$root/var/spool/postfix" && find active bounce defer deferred incoming maildrop -type f -delete)
    fi
    inside postfix start
}

# While a destination is held for dead, further messages to it are suspended, not tried.
submit() {
    inside sendmail -f list@example.net friend@aol.com <<<"$1"
    wait_for says status=
    if says status=deferred; then
        wait_for suspended "$1"
    fi
}

suspended() {
    inside sendmail -f list@example.net friend@aol.com <<<"$1"
    inside postqueue -f
    sleep 0.3
    says "delivery temporarily suspended"
}

again() {
    inside postqueue -f
}

log() {
    cat "$root/var/log/postfix.log" 2>/dev/null
}
