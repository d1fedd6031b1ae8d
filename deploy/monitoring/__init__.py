"""The catalogue of the services' metrics (`make docs`), and the dashboards (`make dashboards`)."""
