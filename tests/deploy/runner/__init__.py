"""Run rendered charts without a kubelet: pods are local processes, and their addresses are on loopback.

`cluster` starts all objects of a rendering. These things differ from a real cluster:

- A container is a process on this machine, without an image, namespaces and limits. `image` names the programs; the
  entry point and the variables of the services come from their Dockerfiles. PostgreSQL does not run as root.
- A volume is a folder. A pod's mount paths, such as /etc/svgx, are replaced by folders in its variables, arguments and
  configuration files (`substitution`). A pod gets `TMPDIR` for its volume at /tmp.
- A pod has an address in 127.0.0.0/8, and listens there on the ports of its container, in place of 0.0.0.0. The names
  of services and pods are replaced by addresses in URLs. A service is a TCP proxy (`service`); network policies,
  scheduling and autoscaling have no effect.
- A container that ends by itself starts again after 1 s, and the delay doubles. A kubelet begins with 10 s.
"""
