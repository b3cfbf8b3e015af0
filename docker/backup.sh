#!/bin/sh
# Copy what cannot be made again out of the site of compose.yaml: people, rights and tokens (PostgreSQL), users' files,
# and the secrets. The site goes on meanwhile.
#   docker/backup.sh DIRECTORY
# Not copied, because it is made again from what is there: caches, catalogues, the bus, the publishers' indexes.
set -eu
cd "$(dirname "$0")/.."
umask 077
target=${1:?usage: docker/backup.sh DIRECTORY}
mkdir -p "$target"
docker compose exec -T postgres pg_dump -U caterva2 --format=custom caterva2 > "$target/people.dump.new"
docker compose exec -T subscriber sh -c \
    'cd /var/lib/caterva2 && mkdir -p public shared personal && exec tar -cf - public shared personal' > "$target/files.tar.new"
cp "${COMPOSE_ENV_FILES:-.env}" "$target/env.new"
for name in people.dump files.tar env; do mv "$target/$name.new" "$target/$name"; done
echo "backed up to $target: people.dump, files.tar, env"
