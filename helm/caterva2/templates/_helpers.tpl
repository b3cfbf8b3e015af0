{{/* Names: everything is FULLNAME-COMPONENT. */}}
{{- define "caterva2.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that never change of a component; arguments: list ROOT COMPONENT. */}}
{{- define "caterva2.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: caterva2
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "caterva2.labels" -}}
{{- $root := index . 0 -}}
{{ include "caterva2.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: caterva2
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Name, namespace and labels of an object; arguments: list ROOT COMPONENT [NAME]. */}}
{{- define "caterva2.metadata" -}}
{{- $root := index . 0 -}}
name: {{ if gt (len .) 2 }}{{ index . 2 }}{{ else }}{{ include "caterva2.fullname" $root }}-{{ index . 1 }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "caterva2.labels" . | nindent 2 }}
{{- end -}}

{{- define "caterva2.image" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.image -}}
{{- if .registry }}{{ trimSuffix "/" .registry }}/{{ end }}{{ .repository }}-{{ index $ 1 }}:{{ default $root.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}

{{/* What is the same in every pod; arguments: list ROOT UID. */}}
{{- define "caterva2.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "caterva2.fullname" $root }}
automountServiceAccountToken: false
# Variables such as CATERVA2_BROKER_PORT, made from the names of Services, would look like settings.
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 1 }}
  runAsGroup: {{ index . 1 }}
  fsGroup: {{ index . 1 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "caterva2.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "caterva2.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Probes of a service of ours: a degraded service is ready, one that answers is alive. */}}
{{- define "caterva2.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 90
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
lifecycle:
  preStop: # the endpoints must be gone before the listener is
    exec: {command: [sleep, "3"]}
{{- end -}}

{{/* NATS */}}
{{- define "caterva2.nats.bundled" -}}
{{- if .Values.nats.url }}{{ else if .Values.bundled.enabled }}true{{ else }}
{{- fail "bundled.enabled is false: set nats.url to the URL of your NATS" }}
{{- end }}
{{- end -}}

{{- define "caterva2.nats.url" -}}
{{- default (printf "nats://%s-nats:4222" (include "caterva2.fullname" .)) .Values.nats.url -}}
{{- end -}}

{{- define "caterva2.nats.secret" -}}
{{- if and .Values.nats.url (not .Values.nats.existingSecret) }}
{{- fail "nats.url is set: nats.existingSecret must name the secret with the passwords of nats.users" }}
{{- end }}
{{- if and .Values.nats.nkeys (include "caterva2.nats.bundled" .) }}
{{- fail "nats.nkeys is for a NATS of yours: set nats.url, or leave it out" }}
{{- end }}
{{- default (printf "%s-nats" (include "caterva2.fullname" .)) .Values.nats.existingSecret -}}
{{- end -}}

{{/* Key of a service's password or nkey seed in the secret; arguments: list ROOT COMPONENT [ROOT-NAME]. */}}
{{- define "caterva2.nats.key" -}}
{{- $key := slice . 1 | join "-" -}}
{{- $values := (index . 0).Values.nats -}}
{{- if $values.existingSecret -}}
{{- $there := lookup "v1" "Secret" (index . 0).Release.Namespace $values.existingSecret -}}
{{- if and $there (not (hasKey $there.data $key)) }}
{{- fail (printf "secret %s has no key %s: each publisher has a user of its own, see docs/deployment.md" $values.existingSecret $key) }}
{{- end -}}
{{- end -}}
{{ $key }}
{{- end -}}

{{/* Files with which a service logs in at NATS, where it needs any; arguments: list ROOT COMPONENT [ROOT-NAME]. */}}
{{- define "caterva2.nats.volume" -}}
{{- $root := index . 0 -}}
{{- if or $root.Values.nats.nkeys $root.Values.nats.tlsSecret }}
- name: nats
  projected:
    defaultMode: 0440
    sources:
      {{- if $root.Values.nats.nkeys }}
      - secret:
          name: {{ include "caterva2.nats.secret" $root }}
          items: [{key: {{ include "caterva2.nats.key" . }}, path: nkey}]
      {{- end }}
      {{- with $root.Values.nats.tlsSecret }}
      - secret: {name: {{ . }}}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "caterva2.nats.mount" -}}
{{- if or .Values.nats.nkeys .Values.nats.tlsSecret }}
- {name: nats, mountPath: /etc/caterva2/nats, readOnly: true}
{{- end }}
{{- end -}}

{{/* Environment that every service has; arguments: list ROOT COMPONENT [ROOT-NAME]. */}}
{{- define "caterva2.environment" -}}
{{- $root := index . 0 -}}
{{- $user := prepend (slice . 2) (index $root.Values.nats.users (index . 1)) | join "-" -}}
- name: CATERVA2_LOGLEVEL
  value: {{ $root.Values.logLevel }}
- name: CATERVA2_NATS_URL
  value: {{ include "caterva2.nats.url" $root | quote }}
- name: CATERVA2_NATS_USER
  value: {{ $user | quote }}
{{- if $root.Values.nats.nkeys }}
- {name: CATERVA2_NATS_NKEY_FILE, value: /etc/caterva2/nats/nkey}
{{- else }}
- name: CATERVA2_NATS_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "caterva2.nats.secret" $root }}, key: {{ include "caterva2.nats.key" . }}}
{{- end }}
{{- if $root.Values.nats.tlsSecret }}
- {name: CATERVA2_NATS_TLS_CA, value: /etc/caterva2/nats/ca.crt}
{{- end }}
- name: CATERVA2_JOIN_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ include "caterva2.join.secret" $root }}, key: token}
{{- end -}}

{{- define "caterva2.join.secret" -}}
{{- if and (not .Values.broker.enabled) (not .Values.broker.existingSecret) }}
{{- fail "broker.enabled is false: broker.existingSecret must name the secret with the join token of your broker" }}
{{- end }}
{{- default (printf "%s-join" (include "caterva2.fullname" .)) .Values.broker.existingSecret -}}
{{- end -}}

{{- define "caterva2.broker.address" -}}
{{- if .Values.broker.enabled -}}
{{ include "caterva2.fullname" . }}-broker:8000
{{- else -}}
{{ required "broker.enabled is false: set broker.address to the address of your broker" .Values.broker.address }}
{{- end -}}
{{- end -}}

{{/* Database */}}
{{- define "caterva2.postgresql.bundled" -}}
{{- if or .Values.database.existingSecret (not .Values.subscriber.enabled) }}{{ else if .Values.bundled.enabled }}true{{ else }}
{{- fail "bundled.enabled is false: set database.existingSecret to the secret with the URL of your PostgreSQL" }}
{{- end }}
{{- end -}}

{{- define "caterva2.database.secret" -}}
{{- default (printf "%s-postgresql" (include "caterva2.fullname" .)) .Values.database.existingSecret -}}
{{- end -}}

{{- define "caterva2.subscriber.secret" -}}
{{- default (printf "%s-subscriber" (include "caterva2.fullname" .)) .Values.subscriber.existingSecret -}}
{{- end -}}

{{/* A secret value that survives upgrades; arguments: list ROOT SECRET KEY. */}}
{{- define "caterva2.kept" -}}
{{- $root := index . 0 -}}
{{- $old := lookup "v1" "Secret" $root.Release.Namespace (index . 1) -}}
{{- $value := "" -}}
{{- if $old }}{{ $value = dig "data" (index . 2) "" $old }}{{ end -}}
{{- if $value }}{{ $value | b64dec }}{{ else }}s{{ randAlphaNum 40 }}{{ end -}}
{{- end -}}

{{- define "caterva2.volumeClaim" -}}
accessModes: {{ toYaml (default (list "ReadWriteOnce") .accessModes) | nindent 2 }}
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}

{{/* Rules of network policies: who may come in on a port, where pods may go. */}}
{{- define "caterva2.egressTo" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "caterva2.selector" (list (index . 0) (index . 1)) | nindent 10 }}
  ports:
    - {protocol: TCP, port: {{ index . 2 }}}
{{- end -}}

{{- define "caterva2.egressDNS" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{/* Publishers; arguments: list ROOT NAME. Names of roots may hold `_`, names of objects may not. */}}
{{- define "caterva2.publisher.name" -}}
{{- $name := index . 1 -}}
{{- $short := $name | replace "_" "-" | trunc 30 | trimSuffix "-" -}}
{{- if ne $short $name }}{{ $short = printf "%s-%s" $short ($name | sha256sum | trunc 6) }}{{ end -}}
{{ include "caterva2.fullname" (index . 0) }}-pub-{{ $short }}
{{- end -}}

{{- define "caterva2.subscriber.environment" -}}
{{ include "caterva2.environment" (list . "subscriber") }}
- name: CATERVA2_BROKER
  value: {{ include "caterva2.broker.address" . | quote }}
- name: CATERVA2_DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ include "caterva2.database.secret" . }}, key: url}
- name: CATERVA2_SECRET
  valueFrom:
    secretKeyRef: {name: {{ include "caterva2.subscriber.secret" . }}, key: secret}
{{- with .Values.subscriber }}
- {name: CATERVA2_URLBASE, value: {{ .url | quote }}}
- {name: CATERVA2_FOLLOW, value: {{ join "," .follow | quote }}}
{{- if .shared.enabled }}
- {name: CATERVA2_SPACES_DIRECTORY, value: /var/lib/caterva2/spaces}
{{- end }}
- {name: CATERVA2_STALE, value: {{ .stale | quote }}}
- {name: CATERVA2_CACHE_SIZE, value: {{ .cacheSize | quote }}}
{{- with .quota }}
- {name: CATERVA2_QUOTA, value: {{ . | quote }}}
{{- end }}
- {name: CATERVA2_LOGIN, value: {{ .login | quote }}}
- {name: CATERVA2_REGISTER, value: {{ .register | quote }}}
{{- with .allowedHosts }}
- {name: CATERVA2_ALLOWED_HOSTS, value: {{ join "," . | quote }}}
{{- end }}
{{- with .trustedProxies }}
- {name: CATERVA2_TRUSTED_PROXIES, value: {{ join "," . | quote }}}
{{- end }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Prometheus may come in where ServiceMonitors are made; arguments: list ROOT PORT. */}}
{{- define "caterva2.ingressMonitoring" -}}
{{- if (index . 0).Values.monitoring.serviceMonitor.enabled -}}
- from:
    - namespaceSelector: {}
      podSelector:
        matchLabels:
          app.kubernetes.io/name: prometheus
  ports:
    - {protocol: TCP, port: {{ index . 1 }}}
{{- end -}}
{{- end -}}
