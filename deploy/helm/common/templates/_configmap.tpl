{{/* The configuration file of the service. Secrets and addresses come from the environment instead. */}}
{{- define "common.configmap" -}}
apiVersion: v1
kind: ConfigMap
{{ include "common.metadata" . }}
data:
  config.yaml: |
    {{- .root.Values.config | toYaml | nindent 4 }}
{{- end -}}
