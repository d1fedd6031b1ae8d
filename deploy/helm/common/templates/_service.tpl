{{- define "common.service" -}}
{{- $values := .root.Values -}}
apiVersion: v1
kind: Service
{{ include "common.metadata" (merge (dict "annotations" $values.service.annotations) .) }}
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
