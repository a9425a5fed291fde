#!/bin/sh
# `make demo`: two jobs from nothing, their results and their ledgers.
set -eu
cd "$(dirname "$0")"
ferris=../.venv/bin/ferris

title() {
    printf '\n\033[1m%s\033[0m\n\n' "$1"
}

start() {
    rm -rf "$1/out" "$1/.ferris"
    mkdir -p "$1/out"
}

title 'Bad days at airports: 20,000 real flights, a window of a day for each airport (examples/flights/flights.sql)'
start flights
$ferris run flights/flights.sql
cat flights/out/bad_days.jsonl

title 'One-minute bars: a million generated trades (examples/trades/trades.sql)'
start trades
$ferris run trades/trades.sql
tail -n 6 trades/out/bars.jsonl

title 'Run again: both jobs know that they are done'
$ferris run flights/flights.sql -o json
$ferris run trades/trades.sql -o json
