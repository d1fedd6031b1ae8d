"""The catalogue of the services' metrics, behind `make docs`, and the dashboards, behind `make dashboards`."""
