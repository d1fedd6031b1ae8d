{{/*
Backups of canvases and users by `svgx-state backup`: a CronJob for full backups, one for incremental ones, and the policy
of their pods. The pods have a name label of their own. With the service's label, they would get its requests.
*/}}
{{- define "common.backupfull" -}}
{{- include "common.backupCronjob" (merge (dict "type" "full") .) -}}
{{- end -}}

{{- define "common.backupincremental" -}}
{{- include "common.backupCronjob" (merge (dict "type" "incremental") .) -}}
{{- end -}}

{{/* A CronJob's name has at most 52 characters, because Kubernetes adds 11 to the names of its jobs. */}}
{{- define "common.backupName" -}}
{{- printf "%s-backup" (include "common.fullname" . | trunc 33 | trimSuffix "-") -}}
{{- end -}}

{{- define "common.backupLabels" -}}
app.kubernetes.io/name: svgx-{{ .service.name }}-backup
app.kubernetes.io/instance: {{ .root.Release.Name | trunc 63 | trimSuffix "-" | quote }}
{{- end -}}

{{- define "common.backupCronjob" -}}
{{- $values := .root.Values -}}
{{- if and .service.backups $values.backup.enabled (get $values.backup.schedules .type) -}}
{{- $backup := $values.backup -}}
apiVersion: batch/v1
kind: CronJob
{{ include "common.metadata" (merge (dict "name" (printf "%s-%s" (include "common.backupName" .) .type) "labels" (include "common.backupLabels" . | fromYaml)) .) }}
spec:
  schedule: {{ get $backup.schedules .type | quote }}
  {{- with $backup.timeZone }}
  timeZone: {{ . | quote }}
  {{- end }}
  # Two backups at the same time would read the same canvases twice.
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 2
      activeDeadlineSeconds: {{ $backup.deadlineSeconds }}
      ttlSecondsAfterFinished: 86400
      template:
        {{- include "common.podMetadata" (merge (dict "labels" (include "common.backupLabels" . | fromYaml)) .) | nindent 8 }}
        spec:
          restartPolicy: Never
          serviceAccountName: {{ include "common.serviceAccountName" . }}
          automountServiceAccountToken: false
          enableServiceLinks: false
          {{- include "common.pullSecrets" . | nindent 10 }}
          securityContext:
            {{- include "common.podSecurityContext" . | nindent 12 }}
          containers:
            - name: backup
              image: {{ include "common.serviceImage" . }}
              imagePullPolicy: {{ $values.image.pullPolicy }}
              securityContext:
                {{- include "common.containerSecurityContext" . | nindent 16 }}
              args:
                - backup
                - --backup-type
                - {{ .type }}
                {{- if $backup.verify }}
                - --verify
                {{- end }}
              env:
                {{- include "common.env" . | nindent 16 }}
              {{- with $values.extraEnvFrom }}
              envFrom:
                {{- toYaml . | nindent 16 }}
              {{- end }}
              resources:
                {{- toYaml $backup.resources | nindent 16 }}
              volumeMounts:
                - name: config
                  mountPath: /etc/svgx
                  readOnly: true
                - name: tmp
                  mountPath: /tmp
                {{- include "common.backupMount" . | trim | nindent 16 }}
                {{- with $values.extraVolumeMounts }}
                {{- toYaml . | nindent 16 }}
                {{- end }}
          volumes:
            - name: config
              configMap:
                name: {{ include "common.fullname" . }}
            - name: tmp
              emptyDir: {}
            {{- include "common.backupVolume" . | trim | nindent 12 }}
            {{- with $values.extraVolumes }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- include "common.jobScheduling" . | nindent 10 }}
{{- end -}}
{{- end -}}

{{/* The variables of backups, for replicas and jobs. */}}
{{- define "common.backupEnv" -}}
{{- $values := .root.Values -}}
{{- with dig "url" "" ($values.backup | default dict) }}
- name: BACKUP_URL
  value: {{ . | quote }}
{{ include "common.secretEnv" (dict "name" "BACKUP_KEY" "secret" ($values.existingSecret | default $values.global.existingSecret) "key" $values.secretKeys.backupKey "optional" true) }}
{{- end }}
{{- end -}}

{{- define "common.backupMount" -}}
{{- with dig "claim" "" (.root.Values.backup | default dict) }}
- name: backups
  mountPath: /backups
{{- end }}
{{- end -}}

{{- define "common.backupVolume" -}}
{{- with dig "claim" "" (.root.Values.backup | default dict) }}
- name: backups
  persistentVolumeClaim:
    claimName: {{ . }}
{{- end }}
{{- end -}}

{{- define "common.backuppolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- if and .service.backups .root.Values.backup.enabled $policy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "common.metadata" (merge (dict "suffix" "backups" "labels" (include "common.backupLabels" . | fromYaml)) .) }}
spec:
  podSelector:
    matchLabels:
      {{- include "common.backupLabels" . | nindent 6 }}
  policyTypes:
    - Ingress
    - Egress
  ingress: []
  egress:
    - to:
        {{- toYaml $policy.egress.dns.to | nindent 8 }}
      ports:
        - port: 53
          protocol: UDP
        - port: 53
          protocol: TCP
    {{- range list "nats" "postgresql" }}
    {{- include "common.egressFlow" (get $policy.egress .) | nindent 4 }}
    {{- end }}
    {{- if include "common.usesObjectStorage" . }}
    {{- include "common.egressFlow" $policy.egress.objectStorage | nindent 4 }}
    {{- end }}
    {{- with $policy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}

{{- define "common.egressFlow" -}}
- to:
    {{- toYaml .to | nindent 4 }}
  ports:
    {{- range .ports }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
{{- end -}}

{{/* Not empty when the backups are in a bucket. */}}
{{- define "common.usesObjectStorage" -}}
{{- if regexMatch "^(s3|gs|az)://" (dig "url" "" (.root.Values.backup | default dict)) -}}yes{{- end -}}
{{- end -}}
