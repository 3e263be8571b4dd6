# The image of Steward, for BuildKit and the classic builder alike; docs/install-docker.md shows how it is run.
# Nothing in it depends on the processor: the two images below decide whether it is for amd64 or arm64.

# Where it is built: Node 24 or later with npm.
ARG BASE=node:24-bookworm-slim
# What it runs on: a Debian as new as BASE or newer, whose Node is copied over. Of BASE itself nothing remains, npm neither.
ARG RUNTIME=debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
COPY packages packages
# The modules that run are put aside before those come that only build.
RUN npm ci --ignore-scripts --omit=dev \
 && rm -rf node_modules/.bin node_modules/.package-lock.json \
 && find node_modules -type f '(' -name '*.d.[cm]ts' -o -name '*.d.ts' -o -name '*.map' -o -name '*.md' ')' -delete \
 && mkdir -p /image/node /image/steward \
 && cp "$(node --print process.execPath)" /image/node/node \
 && mv node_modules /image/node_modules
RUN npm ci --ignore-scripts
COPY LICENSE tsconfig.json tsconfig.build.json ./
COPY src src
RUN node node_modules/typescript/bin/tsc --project tsconfig.build.json --outDir /image/steward/dist \
 && cp -R package.json LICENSE packages /image/steward/ \
 && chmod -R u=rwX,go=rX /image/steward \
 && chmod 755 /image/steward/dist/main.js
# A link is copied as one only with the folder that it is in.
RUN mkdir /image/empty /image/bin /image/lib \
 && ln -s /opt/steward/dist/main.js /image/bin/steward \
 && ln -s /data /image/lib/steward

FROM ${RUNTIME}
# What changes least comes first: an upgrade brings the last layer.
COPY --from=build /image/node /usr/local/bin
COPY --from=build /image/node_modules /opt/steward/node_modules
COPY --from=build /image/bin /usr/local/bin
COPY --from=build /image/lib /var/lib
COPY --from=build --chown=991:991 /image/empty /data
COPY --from=build --chown=991:991 /image/empty /etc/steward
COPY --from=build /image/steward /opt/steward

ENV NODE_ENV=production \
    STEWARD_CONFIG=/etc/steward/steward.yaml
# The default `data_dir`, /var/lib/steward, is a link to it.
VOLUME /data
WORKDIR /data
USER 991:991
# Fails here, not at the first start, where RUNTIME cannot carry the Node of BASE.
RUN ["steward", "--version"]
STOPSIGNAL SIGTERM
# The daemon's own socket answers whatever `http.listen` says. A homeserver that is down is no reason to start Steward again:
# it stays up for the shell and the schedules, so this asks whether it lives, not whether it is ready.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["node", "--eval", "require('node:http').get({ socketPath: '/data/steward.sock', path: '/v1/ping' }, ({ statusCode }) => process.exit(statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
ENTRYPOINT ["steward"]
CMD ["run"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Steward" \
      org.opencontainers.image.description="Runs a Matrix homeserver from a chat room." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
