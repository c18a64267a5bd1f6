#!/bin/sh
# Everything that can be said about the sources without running them.
set -eu
cd "$(dirname "$0")/.."
ruff check
ruff format --check
mypy
yamllint --strict ansible docker-compose.yml grafana/provisioning loki prometheus tests/rules netvane.example.yml
promtool check rules prometheus/rules/*.yml prometheus/alerts/*.yml

rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT
netvane check-config --config.file netvane.example.yml
netvane render "$rendered" --config.file netvane.example.yml
promtool check config "$rendered/prometheus.yml"
amtool check-config "$rendered/alertmanager.yml"

cd ansible
for playbook in *.yml; do
    ansible-playbook -i inventory/three-sites --syntax-check "$playbook" >"$rendered/syntax"
done
ansible-lint --nocolor -q
