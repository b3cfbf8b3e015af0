# Stands in for the image of Prometheus where no registry of images is reachable.
FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus wget && rm -rf /var/lib/apt/lists/* && \
    install -d -o 65534 -g 65534 /prometheus
USER 65534:65534
VOLUME /prometheus
ENTRYPOINT ["prometheus"]
