#!/bin/sh
# `make demo`: two jobs from nothing, their results and their ledgers.
set -eu
cd "$(dirname "$0")"
ferris=../.venv/bin/ferris

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi

title() {
    printf '\n%s%s%s\n\n' "$bold" "$1" "$plain"
}

start() {
    rm -rf "$1/out" "$1/.ferris"
    mkdir -p "$1/out"
}

title 'Bad days at airports: 20,000 real flights, a window of a day for each airport (examples/flights/flights.sql)'
start flights
$ferris run flights/flights.sql
echo
cat flights/out/bad_days.jsonl

title 'One-minute bars: a million generated trades (examples/trades/trades.sql)'
start trades
$ferris run trades/trades.sql
echo
tail -n 6 trades/out/bars.jsonl

title 'Is every record accounted for? Sources and outputs are counted again, beside the ledger'
$ferris audit flights/flights.sql
$ferris audit trades/trades.sql
