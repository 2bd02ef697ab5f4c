# seg-prior on a CPU.
#
#   docker build --build-arg TORCH_INDEX=URL -t seg-prior .
#   docker run --rm --user "$(id -u)" -v "$PWD:/data" seg-prior segment scan.nii.gz scan_dseg.nii.gz
#
# TORCH_INDEX: where pip finds a torch without CUDA, as docs/install.md tells. Without it the image is
# larger by the CUDA libraries, and runs just the same.
FROM python:3.11-slim

ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    MPLCONFIGDIR=/tmp/matplotlib

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY seg_prior ./seg_prior
RUN if [ -n "$TORCH_INDEX" ]; then pip install -c constraints.txt --index-url "$TORCH_INDEX" torch; fi \
    && pip install -c constraints.txt . \
    && useradd --create-home --uid 1000 reader

USER 1000
WORKDIR /data
ENTRYPOINT ["seg-prior"]
CMD ["--help"]
