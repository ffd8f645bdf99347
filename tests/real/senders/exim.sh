# Exim: takes a 5xx greeting for what it says, and warns of a delay.
packages=(exim4-daemon-light)

configure() {
    cat >"$root/etc/exim4/exim4.conf" <<'END'
primary_hostname = out1.example.net
keep_environment =
delay_warning = 1s
begin routers
box:
  driver = accept
  domains = example.net
  transport = box
exchangers:
  driver = dnslookup
  transport = smtp
  self = send
  no_more
begin transports
smtp:
  driver = smtp
  interface = 127.0.0.11
box:
  driver = appendfile
  file = /var/mail/list
  user = mail
begin retry
* * F,1h,1s
END
    chmod 640 "$root/etc/exim4/exim4.conf"
    inside chgrp Debian-exim /etc/exim4/exim4.conf
}

start_afresh() {
    inside sh -c 'rm -rf /var/spool/exim4/input/* /var/spool/exim4/msglog/* /var/spool/exim4/db/*'
    [[ -e $root/var/log/exim4/mainlog ]] || inside install -o Debian-exim /dev/null /var/log/exim4/mainlog
}

submit() {
    inside exim4 -odf -f list@example.net friend@aol.com <<<"$1"
}

again() {
    inside exim4 -qff
}

log() {
    cat "$root/var/log/exim4/mainlog" 2>/dev/null
}
