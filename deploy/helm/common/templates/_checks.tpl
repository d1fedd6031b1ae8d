{{/* Stop the rendering when values contradict each other, with a message that states the remedy. */}}
{{- define "common.checks" -}}
{{- $values := .root.Values -}}
{{- if and .root.Chart.IsRoot (not (include "common.natsUrl" .)) -}}
{{- fail (printf "%s: nats.url is required, such as nats://nats.example:4222, because this chart does not install NATS" .root.Chart.Name) -}}
{{- end -}}
{{- if and .service.database .root.Chart.IsRoot -}}
{{- $most := int (include "common.databaseConnections" .) -}}
{{- $free := int (include "common.freeConnections" .) -}}
{{- if gt $most $free -}}
{{- fail (printf "%s: %s = %d connections to PostgreSQL, but only %d of postgresql.maxConnections (%d) are free: lower config.database.pool_size, config.database.max_overflow or autoscaling.maxReplicas, or raise max_connections of the server and postgresql.maxConnections" .root.Chart.Name (include "common.databaseSum" .) $most $free (int $values.postgresql.maxConnections)) -}}
{{- end -}}
{{- end -}}
{{- if and .service.backups $values.backup.enabled (not $values.backup.url) -}}
{{- fail (printf "%s: backup.url is required with backup.enabled: such as s3://bucket/folder, or file:///backups with backup.claim" .root.Chart.Name) -}}
{{- end -}}
{{- if and .service.backups (hasPrefix "file:" $values.backup.url) (not $values.backup.claim) -}}
{{- fail (printf "%s: backup.claim is required with a backup.url of files, because the pods' own files are lost with them" .root.Chart.Name) -}}
{{- end -}}
{{- if and .service.public (or $values.ingress.enabled $values.httpRoute.enabled) (not (dig "gateway" "trusted_proxies" "" $values.config)) -}}
{{- fail (printf "%s: config.gateway.trusted_proxies is required with ingress.enabled or httpRoute.enabled: set it to the network of the ingress controller's pods, for example 10.0.0.0/8; otherwise all clients without an account share one rate limit" .root.Chart.Name) -}}
{{- end -}}
{{- if and .service.public (ne $values.service.type "ClusterIP") $values.networkPolicy.enabled (not $values.networkPolicy.extraIngress) -}}
{{- fail (printf "%s: networkPolicy.extraIngress is required with service.type=%s: name the sources that may connect to the port http, because the network policy refuses all but the ingress controller and Prometheus" .root.Chart.Name $values.service.type) -}}
{{- end -}}
{{- if eq (include "common.metricsPort" .) "8000" -}}
{{- fail (printf "%s: config.gateway.metrics_port must differ from 8000, the container's port for requests" .root.Chart.Name) -}}
{{- end -}}
{{- range $values.extraEnv -}}
{{- if and (eq $.service.name "gateway") (eq .name "METRICS_PORT") -}}
{{- fail (printf "%s: set config.gateway.metrics_port instead of METRICS_PORT in extraEnv, because the chart makes the port for Prometheus from that value" $.root.Chart.Name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "common.natsUrl" -}}
{{- .root.Values.nats.url | default .root.Values.global.nats.url -}}
{{- end -}}

{{/* Connections that PostgreSQL keeps for its superuser are not free (superuser_reserved_connections, 3 by default). */}}
{{- define "common.freeConnections" -}}
{{- sub (int .root.Values.postgresql.maxConnections) 3 -}}
{{- end -}}

{{/*
The largest number of replicas with connections during a rolling update. A new replica may start while an old one is
still stopping, because Kubernetes does not count a pod that terminates.
*/}}
{{- define "common.mostReplicas" -}}
{{- $replicas := int .root.Values.replicaCount -}}
{{- if .root.Values.autoscaling.enabled -}}{{- $replicas = int .root.Values.autoscaling.maxReplicas -}}{{- end -}}
{{- add $replicas (mul 2 (int .service.rollingUpdate.maxSurge)) -}}
{{- end -}}

{{/* The largest number of connections: each replica has its pool, and one connection that watches the server. */}}
{{- define "common.databaseConnections" -}}
{{- $database := .root.Values.config.database -}}
{{- mul (int (include "common.mostReplicas" .)) (add (int $database.pool_size) (int $database.max_overflow) 1) -}}
{{- end -}}

{{- define "common.databaseSum" -}}
{{- $database := .root.Values.config.database -}}
{{- printf "(%d pool_size + %d max_overflow + 1) × %d replicas" (int $database.pool_size) (int $database.max_overflow) (int (include "common.mostReplicas" .)) -}}
{{- end -}}
