{{- define "common.disruptionbudget" -}}
{{- if .root.Values.disruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
{{ include "common.metadata" . }}
spec:
  maxUnavailable: {{ .root.Values.disruptionBudget.maxUnavailable }}
  {{- include "common.unhealthyPodEviction" . | nindent 2 }}
  selector:
    matchLabels:
      {{- include "common.selectorLabels" . | nindent 6 }}
{{- end -}}
{{- end -}}

{{- define "common.unhealthyPodEviction" -}}
{{- if semverCompare ">=1.27-0" .root.Capabilities.KubeVersion.Version }}
# With the default policy, a pod that is not ready blocks the drain of its node if too few other pods are ready.
unhealthyPodEvictionPolicy: AlwaysAllow
{{- end }}
{{- end -}}
