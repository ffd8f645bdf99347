#!/bin/sh
# Makes the certificates that rcgen does not: X.509 version 1, RSA keys of 1,024 bits, and what
# `openssl req -x509` makes by itself. They last a hundred years, for mx.example, key and certificate
# in one PEM file each.
set -eu
cd "$(dirname "$0")"

one() { # NAME KEY-BITS [x509 OPTION...]
    name=$1 bits=$2
    shift 2
    openssl genpkey -quiet -algorithm RSA -pkeyopt "rsa_keygen_bits:$bits" -out "$name.key" 2>/dev/null
    openssl req -new -key "$name.key" -subj /CN=mx.example -out "$name.csr"
    openssl x509 -req -in "$name.csr" -signkey "$name.key" -days 36500 "$@" -out "$name.crt" 2>/dev/null
    cat "$name.key" "$name.crt" > "$name.pem"
    rm "$name.key" "$name.csr" "$name.crt"
}

echo 'subjectAltName = DNS:mx.example' > san.cnf
one v1 2048
one rsa1024 1024 -extfile san.cnf
rm san.cnf

openssl req -x509 -newkey rsa:2048 -nodes -keyout selfsigned.key -subj /CN=mx.example -days 36500 \
    -addext 'subjectAltName = DNS:mx.example' -out selfsigned.crt 2>/dev/null
cat selfsigned.key selfsigned.crt > selfsigned.pem
rm selfsigned.key selfsigned.crt
