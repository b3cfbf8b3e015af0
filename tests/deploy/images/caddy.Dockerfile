# Stands in for the image of Caddy where no registry of images is reachable.
FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends caddy wget && rm -rf /var/lib/apt/lists/*
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
