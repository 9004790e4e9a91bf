# dawk in a container: one static binary, nothing else, not root.
#
#   docker build -t dawk .
#   docker run -d --name dawk -p 587:587 -v dawk:/var/lib/dawk -v ./dawk.toml:/etc/dawk/dawk.toml:ro dawk
#   docker exec dawk dawk queue list
#
# The queue is the volume: keep it, and never give one volume to two containers.
# The tag is for people; the digest, of the index for all architectures, decides.
FROM docker.io/library/golang:1.26.8-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d AS build
WORKDIR /src
# The modules first, so that a change of code does not fetch them again.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/dawk ./cmd/dawk
# The licences of all that is linked into it.
RUN mkdir -p /out/doc && sh .ci/packaging/copyright.sh >/out/doc/copyright
# What a scratch image lacks: our user's name, a place for temporary files, and
# a data directory of its own. COPY keeps modes of what is in a directory, not
# of the directory itself.
RUN mkdir -p /out/etc/dawk /out/root/tmp /out/state/dawk && \
    chmod 1777 /out/root/tmp && chmod 0700 /out/state/dawk && \
    echo 'dawk:x:65532:65532:dawk:/var/lib/dawk:/sbin/nologin' >/out/etc/passwd && \
    echo 'dawk:x:65532:' >/out/etc/group

FROM scratch
COPY --from=build /out/root/ /
COPY --from=build /out/etc/ /etc/
# The roots that TLS to smart hosts and verified receivers needs.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/dawk /usr/local/bin/dawk
COPY --from=build /out/doc/ /usr/share/doc/dawk/
COPY --from=build --chown=65532:65532 /out/state/ /var/lib/
ENV PATH=/usr/local/bin
USER 65532:65532
WORKDIR /var/lib/dawk
VOLUME /var/lib/dawk
# SMTP with STARTTLS and with TLS from the start; metrics and health.
EXPOSE 587 465 8025
# A stop lets transfers and attempts end, within ten seconds; Docker's own
# grace is ten as well, so give it more: docker stop -t 20.
STOPSIGNAL SIGTERM
# Healthy: the queue is loaded and the disk is trusted. A full disk is no
# reason to restart, and none to say so.
HEALTHCHECK --interval=30s --timeout=10s --start-period=1m --retries=3 CMD ["dawk", "health"]
ENTRYPOINT ["dawk"]
CMD ["serve"]
