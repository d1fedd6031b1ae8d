{{/* All objects of a service. A chart's only template calls this one. */}}
{{- define "common.all" -}}
{{- $scope := dict "root" . "service" (.Files.Get "service.yaml" | fromYaml) -}}
{{- include "common.checks" $scope -}}
{{- $objects := list "serviceaccount" "configmap" "migration" "deployment" "reserveddeployment" "service" "reservedservice" "metricsservice" "autoscaler" "disruptionbudget" "networkpolicy" "servicemonitor" "alerts" "dashboards" "backupfull" "backupincremental" "backuppolicy" "connectiontest" -}}
{{- if .Files.Get "service.yaml" | fromYaml | dig "public" false -}}
{{- $objects = concat $objects (list "ingress" "httproute") -}}
{{- end -}}
{{- range $objects }}
{{- with include (printf "common.%s" .) $scope | trim }}
---
{{ . }}
{{- end }}
{{- end }}
{{- range .Values.extraObjects }}
---
{{ if kindIs "string" . }}{{ tpl . $ }}{{ else }}{{ tpl (toYaml .) $ }}{{ end }}
{{- end }}
{{- end -}}
