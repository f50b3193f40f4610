# syntax=docker/dockerfile:1
# Three stages: build the bundle, collect a folder that runs anywhere with a /bin/sh, and a small image around it with
# the tools that a driver in a pod of its own needs. amd64 and arm64: docker buildx build --platform linux/amd64,linux/arm64 .

FROM node:20-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json ./
COPY bin ./bin
COPY scripts ./scripts
COPY src ./src
COPY deploy/runtime ./deploy/runtime
# V8's cached data in dist/ belongs to the very Node that makes it, so the next stage starts from this one.
RUN npm run build \
 && npx esbuild deploy/runtime/metrics-merge-main.ts --bundle --platform=node --target=node20 --format=cjs \
      --outfile=dist/metrics-merge.cjs

FROM build AS runtime
ARG SOURCE_DATE_EPOCH=0
RUN SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} deploy/runtime/collect /opt/felix-dataplane

FROM debian:bookworm-slim
# iptables: both variants. libnftables1 comes with nftables and is used in-process. kmod: modprobe.
RUN apt-get update \
 && apt-get install -y --no-install-recommends iptables nftables ipset iproute2 conntrack kmod \
 && rm -rf /var/lib/apt/lists/*
COPY --from=runtime /opt/felix-dataplane /opt/felix-dataplane
# The kernel's tables are written as root with NET_ADMIN, so there is no USER here. The pods that do not program the
# kernel (metrics, the installer's idle container) set runAsNonRoot in deploy/.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=6 \
  CMD ["/opt/felix-dataplane/healthcheck", "/liveness"]
ENTRYPOINT ["/opt/felix-dataplane/felix-dataplane"]
CMD ["serve", "--listen", "unix:/run/felix-dataplane.sock"]
