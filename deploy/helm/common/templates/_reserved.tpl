{{/*
Reserved replicas: pods of the same kind, with `RESERVED=true`, that hold only canvases which other replicas hand over
to them. They have a Deployment without an autoscaler, and a Kubernetes service by which Prometheus finds them.
*/}}
{{- define "common.reserveddeployment" -}}
{{- if include "common.hasReserved" . -}}
{{- include "common.deployment" (merge (dict "reserved" true) .) -}}
{{- end -}}
{{- end -}}

{{- define "common.reservedservice" -}}
{{- if include "common.hasReserved" . -}}
{{- include "common.service" (merge (dict "reserved" true) .) -}}
{{- end -}}
{{- end -}}

{{- define "common.hasReserved" -}}
{{- if gt (int (dig "reserved" "replicaCount" 0 .root.Values.AsMap)) 0 -}}true{{- end -}}
{{- end -}}

{{/* A selector of all pods of the service: of its replicas, and of its reserved replicas. */}}
{{- define "common.allReplicas" -}}
{{- if include "common.hasReserved" . -}}
matchLabels:
  {{- omit (include "common.selectorLabels" . | fromYaml) "app.kubernetes.io/name" | toYaml | nindent 2 }}
matchExpressions:
  - key: app.kubernetes.io/name
    operator: In
    values:
      - {{ include "common.nameLabel" . }}
      - {{ include "common.nameLabel" (merge (dict "reserved" true) .) }}
{{- else -}}
matchLabels:
  {{- include "common.selectorLabels" . | nindent 2 }}
{{- end -}}
{{- end -}}
