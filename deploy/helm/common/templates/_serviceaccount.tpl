{{- define "common.serviceaccount" -}}
{{- if .root.Values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
{{ include "common.metadata" (merge (dict "name" (include "common.serviceAccountName" .) "annotations" .root.Values.serviceAccount.annotations) .) }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}

{{- define "common.serviceAccountName" -}}
{{- if .root.Values.serviceAccount.create -}}
{{- .root.Values.serviceAccount.name | default (include "common.fullname" .) -}}
{{- else -}}
{{- .root.Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}
