{{/* The configuration files of the NATS servers. */}}
{{- define "svgx.natsFiles" -}}
nats.conf: |
  server_name: $POD_NAME
  listen: 0.0.0.0:4222
  http: 0.0.0.0:8222
  pid_file: /tmp/nats.pid
  # A client or server that does not answer two pings is disconnected.
  ping_interval: "3s"
  ping_max: 2
  write_deadline: "10s"
  lame_duck_grace_period: "2s"
  lame_duck_duration: "30s"
  include users.conf
  {{- if gt (int .Values.nats.replicas) 1 }}
  cluster {
    name: {{ include "svgx.serverName" (dict "root" . "name" "nats") | quote }}
    listen: 0.0.0.0:6222
    no_advertise: true
    # Without the password, any process that reaches the port could join, and read all messages.
    authorization {
      user: routes
      password: $CLUSTER_PASSWORD
    }
  }
  {{- end }}
users.conf: |
  {{- .Files.Get (ternary "files/nats-users-second-keys.conf" "files/nats-users.conf" .Values.nats.secondKeys) | nindent 2 }}
{{- end -}}

{{/* The addresses of all servers of the cluster. Kubernetes inserts the password. */}}
{{- define "svgx.natsRoutes" -}}
{{- $name := include "svgx.serverName" (dict "root" . "name" "nats") -}}
{{- $routes := list -}}
{{- range $number := until (int .Values.nats.replicas) -}}
{{- $routes = append $routes (printf "nats://routes:$(CLUSTER_PASSWORD)@%s-%d.%s-peers.%s.svc:6222" $name $number $name $.Release.Namespace) -}}
{{- end -}}
{{- join "," $routes -}}
{{- end -}}
