{{/* The pod of `helm test`. It succeeds if the Kubernetes service leads to a replica that is ready. */}}
{{- define "common.connectiontest" -}}
{{- $values := .root.Values -}}
{{- $name := include "common.fullname" . -}}
apiVersion: v1
kind: Pod
{{ include "common.metadata" (merge (dict "suffix" "test" "labels" (dict "svgx.dev/test-of" $name "app.kubernetes.io/name" "svgx-test") "annotations" (dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded")) .) }}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  {{- include "common.pullSecrets" . | nindent 2 }}
  securityContext:
    {{- include "common.podSecurityContext" . | nindent 4 }}
  containers:
    - name: test
      image: {{ include "common.serviceImage" . }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      securityContext:
        {{- include "common.containerSecurityContext" . | nindent 8 }}
      command:
        - python
        - -c
        - import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
        - http://{{ $name }}:{{ $values.service.port }}/health/ready
      resources:
        requests:
          cpu: 10m
          memory: 32Mi
        limits:
          cpu: 200m
          memory: 64Mi
{{- end -}}
