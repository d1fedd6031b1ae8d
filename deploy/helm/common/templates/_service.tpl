{{- define "common.service" -}}
{{- $values := .root.Values -}}
{{- /* The ServiceMonitor finds the Kubernetes service of reserved replicas too, because both services have its labels. */}}
{{- $labels := include "common.selectorLabels" (omit . "reserved") | fromYaml -}}
apiVersion: v1
kind: Service
{{ include "common.metadata" (merge (dict "name" (include "common.deploymentName" .) "labels" $labels "annotations" $values.service.annotations) .) }}
spec:
  type: {{ $values.service.type }}
  selector:
    {{- include "common.selectorLabels" . | nindent 4 }}
  ports:
    - name: http
      port: {{ $values.service.port }}
      targetPort: http
      appProtocol: http
{{- end -}}
