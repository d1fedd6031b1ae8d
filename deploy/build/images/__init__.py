"""The images of the services: `python -m deploy.build.images` builds them with docker, podman or buildah."""
