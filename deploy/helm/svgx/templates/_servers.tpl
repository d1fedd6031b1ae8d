{{/* Objects of the servers NATS, PostgreSQL and Valkey. Each template takes a dict with `root` and `name`. */}}

{{- define "svgx.serverName" -}}
{{- include "common.fullname" (dict "root" .root "service" (dict "name" .name)) -}}
{{- end -}}

{{- define "svgx.serverSelector" -}}
{{- include "common.selectorLabels" (dict "root" .root "service" (dict "name" .name)) -}}
{{- end -}}

{{- define "svgx.serverMetadata" -}}
{{- include "common.metadata" (dict "root" .root "service" (dict "name" .name) "suffix" .suffix) -}}
{{- end -}}

{{/* A policy that admits the named services to one port, and the server's own replicas to `peerPort`. */}}
{{- define "svgx.serverPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "svgx.serverMetadata" . }}
spec:
  podSelector:
    matchLabels:
      {{- include "svgx.serverSelector" . | nindent 6 }}
  policyTypes:
    - Ingress
    - Egress
  ingress:
    - from:
        {{- range .clients }}
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: svgx-{{ . }}
        {{- end }}
      ports:
        - port: {{ .port }}
          protocol: TCP
    {{- if .peerPort }}
    - from:
        - podSelector:
            matchLabels:
              {{- include "svgx.serverSelector" . | nindent 14 }}
      ports:
        - port: {{ .peerPort }}
          protocol: TCP
  egress:
    - to:
        - podSelector:
            matchLabels:
              {{- include "svgx.serverSelector" . | nindent 14 }}
      ports:
        - port: {{ .peerPort }}
          protocol: TCP
    - to:
        {{- toYaml .root.Values.networkPolicy.dns | nindent 8 }}
      ports:
        - port: 53
          protocol: UDP
        - port: 53
          protocol: TCP
    {{- else }}
  egress: []
    {{- end }}
{{- end -}}
