"""Run rendered charts without a kubelet: pods are local processes, and their addresses are on loopback.

`cluster` starts all objects that Helm rendered. These are the differences from a real cluster:

- A container is a process on this machine, without an image, namespaces or limits. `image` finds the programs. The
  entry point and the variables of the services come from their Dockerfiles. PostgreSQL does not run as root.
- A volume is a folder. In the variables, arguments and configuration files of a pod, the folder's path replaces the
  mount path, such as /etc/svgx (`substitution`). The variable `TMPDIR` names the folder of the pod's volume at /tmp.
- A pod has an address in 127.0.0.0/8, and listens there on the ports of its container, in place of 0.0.0.0. In
  URLs, the names of services and pods are replaced by their addresses. A service is a TCP proxy (`service`). Network
  policies, scheduling and autoscaling have no effect.
- A container that ends by itself starts again after 1 s. The delay doubles with each restart, up to 10 s. A kubelet
  begins with 10 s.
"""
