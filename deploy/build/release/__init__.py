"""A release: `python -m deploy.build.release 1.4.0` builds all parts of one version into `dist/1.4.0`."""
