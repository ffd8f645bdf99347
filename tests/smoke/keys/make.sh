#!/bin/sh
# Makes the keys that the cases sign with, and those that nothing can be signed with.
set -eu
cd "$(dirname "$0")"
genrsa() { openssl genpkey -quiet -algorithm RSA -pkeyopt "rsa_keygen_bits:$2" -out "$1.pem"; }
genrsa rsa 2048
genrsa other 2048
genrsa rsa1024 1024
openssl genpkey -algorithm ed25519 -out ed25519.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem
openssl ecparam -name prime256v1 -genkey -noout -out sec1.pem
openssl rsa -in rsa.pem -traditional -out pkcs1.pem
openssl rsa -in rsa.pem -pubout -out public.pem
openssl pkcs8 -topk8 -in rsa.pem -out encrypted.pem -passout pass:x
