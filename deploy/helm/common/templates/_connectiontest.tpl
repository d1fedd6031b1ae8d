{{/* The pod of `helm test`. It succeeds if the Kubernetes service leads to a replica that is ready. */}}
{{- define "common.connectiontest" -}}
{{- $values := .root.Values -}}
{{- $name := include "common.fullname" . -}}
{{- $labels := merge (dict "svgx.dev/test-of" $name "app.kubernetes.io/name" "svgx-test") (include "common.labels" . | fromYaml) ($values.podLabels | default dict) -}}
{{- $annotations := merge (dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded") ($values.podAnnotations | default dict) -}}
apiVersion: v1
kind: Pod
{{ include "common.metadata" (merge (dict "suffix" "test" "labels" $labels "annotations" $annotations) .) }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "common.serviceAccountName" . }}
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
  {{- include "common.jobScheduling" . | nindent 2 }}
{{- end -}}
