#!/bin/sh
# Bring a site back from what backup.sh copied. People and users' files of the present site are replaced.
#   docker/restore.sh DIRECTORY
# On a new machine copy DIRECTORY/env to .env first, so that the site has the secrets it had.
set -eu
cd "$(dirname "$0")/.."
source=${1:?usage: docker/restore.sh DIRECTORY}
for name in people.dump files.tar; do [ -r "$source/$name" ] || { echo "$source/$name is missing" >&2; exit 1; }; done
docker compose stop subscriber
docker compose up --detach --wait postgres
# Rights are not restored but given again by the migration, which also makes the role that serves people.
docker compose exec -T postgres \
    pg_restore -U caterva2 --dbname=caterva2 --clean --if-exists --no-acl --single-transaction < "$source/people.dump"
docker compose run --rm -T migration
docker compose run --rm --no-deps -T --entrypoint sh subscriber -c \
    'cd /var/lib/caterva2 && rm -rf public shared personal && exec tar -xf -' < "$source/files.tar"
docker compose up --detach --wait
echo "restored from $source"
