# The service in an image. It works on the host's libvirt and pool:
#   docker run --network host --device /dev/kvm -v /run/libvirt:/run/libvirt -v vmferry:/var/lib/vmferry \
#     -v /var/lib/libvirt/images:/var/lib/libvirt/images -v /var/log/libvirt:/var/log/libvirt:ro vmferry
FROM debian:12-slim AS packages
WORKDIR /opt/vmferry
COPY deploy/install-packages deploy/packages.txt deploy/
RUN deploy/install-packages deploy/packages.txt && rm -rf /var/lib/apt/lists/*

FROM packages AS build
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt UV_SYSTEM_CERTS=1 UV_PYTHON=/usr/bin/python3 UV_PYTHON_DOWNLOADS=never
COPY deploy/packages-build.txt deploy/
RUN deploy/install-packages deploy/packages-build.txt
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet uv==0.13.9
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN /opt/uv/bin/uv venv --quiet --system-site-packages .venv \
    && /opt/uv/bin/uv sync --quiet --frozen --no-dev --no-install-project --compile-bytecode
COPY app app
COPY workers workers
COPY converters converters
COPY migrations migrations
RUN /opt/uv/bin/uv sync --quiet --frozen --no-dev --no-editable --compile-bytecode

FROM packages
COPY --from=build /opt/vmferry/.venv .venv
ENV PATH=/opt/vmferry/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin VMFERRY_HOME=/var/lib/vmferry
VOLUME /var/lib/vmferry
ENTRYPOINT ["vmferry"]
CMD ["up"]
