# msmtp: no queue and no bounce. What it says on the terminal is all that the sender is told.
packages=(msmtp)

configure() { :; }

start_afresh() {
    : >"$root/var/log/msmtp.log"
}

submit() {
    inside msmtp --host=mailin-01.mx.aol.com --port=25 --source-ip=127.0.0.11 --domain=out1.example.net \
        --logfile=/var/log/msmtp.log --from=list@example.net friend@aol.com <<<"$1" 2>"$root$box" || true
}

again() { :; }

log() {
    cat "$root/var/log/msmtp.log"
}
