# OpenSMTPD: says the greeting's words in its log, and not in its bounce.
packages=(opensmtpd)

configure() {
    cat >"$root/etc/smtpd.conf" <<'END'
bounce warn-interval 1s
listen on socket
action "box" mbox
action "out" relay src 127.0.0.11 helo out1.example.net
match from local for domain "example.net" action "box"
match from local for any action "out"
END
}

# It keeps sessions open and holds refused addresses for down, in memory: each error has its own.
start_afresh() {
    if [[ ${smtpd-} ]]; then
        kill "$smtpd"
        wait "$smtpd" || true
        inside sh -c 'rm -rf /var/spool/smtpd/queue/*'
    fi
    rm -f "$root/run/smtpd.sock" "$root/var/run/smtpd.sock"
    (exec chroot "$root" smtpd -d 2>>"$scratch/smtpd.log") &
    smtpd=$!
    wait_for inside smtpctl show status >/dev/null 2>&1
}

submit() {
    inside sendmail -f list@example.net friend@aol.com <<<"$1"
}

again() {
    inside smtpctl schedule all >/dev/null
}

log() {
    cat "$scratch/smtpd.log" 2>/dev/null
}
