// The same route with net/http and a pgx pool: what a Go team would write.
//
// pgx prepares each statement once a connection by itself. A batch is one round trip and one transaction. Where
// the database is stands in libpq's environment variables.
package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

const upsertSession = `
INSERT INTO sessions (
    session_id, timestamp, session_start_date_iso, session_duration_ms, startup_time_ms, rebuffer_time_ms,
    rebuffer_count, play_time_ms, rebuffer_ratio, total_dropped_frames, total_seek_count, total_seek_time_ms,
    mean_video_format_bitrate, error_count, device_model, os_version, sdk_version, connection_type, event_at
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, m3w_event_at($2, now())
)
ON CONFLICT (session_id) DO UPDATE SET
    timestamp = EXCLUDED.timestamp,
    session_start_date_iso = EXCLUDED.session_start_date_iso,
    session_duration_ms = EXCLUDED.session_duration_ms,
    startup_time_ms = EXCLUDED.startup_time_ms,
    rebuffer_time_ms = EXCLUDED.rebuffer_time_ms,
    rebuffer_count = EXCLUDED.rebuffer_count,
    play_time_ms = EXCLUDED.play_time_ms,
    rebuffer_ratio = EXCLUDED.rebuffer_ratio,
    total_dropped_frames = EXCLUDED.total_dropped_frames,
    total_seek_count = EXCLUDED.total_seek_count,
    total_seek_time_ms = EXCLUDED.total_seek_time_ms,
    mean_video_format_bitrate = EXCLUDED.mean_video_format_bitrate,
    error_count = EXCLUDED.error_count,
    device_model = EXCLUDED.device_model,
    os_version = EXCLUDED.os_version,
    sdk_version = EXCLUDED.sdk_version,
    connection_type = EXCLUDED.connection_type,
    received_at = EXCLUDED.received_at,
    event_at = EXCLUDED.event_at
WHERE sessions.timestamp <= EXCLUDED.timestamp`

const insertEntry = `
INSERT INTO session_timeline (
    session_id, timestamp_ms, elapsed_ms, playback_state, current_bitrate, network_type, total_dropped_frames,
    buffered_duration_ms, rebuffer_count, rebuffer_time_ms
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT DO NOTHING`

const (
	maxBodyBytes = 1 << 20
	maxTimestamp = 253402300799999
	maxEntries   = 500
)

// A pointer that is nil stands for null or a field that is not there.
type entry struct {
	TimestampMs        *int64  `json:"timestampMs"`
	ElapsedMs          *int64  `json:"elapsedMs"`
	PlaybackState      string  `json:"playbackState"`
	CurrentBitrate     *int64  `json:"currentBitrate"`
	NetworkType        *string `json:"networkType"`
	TotalDroppedFrames *int64  `json:"totalDroppedFrames"`
	BufferedDurationMs *int64  `json:"bufferedDurationMs"`
	RebufferCount      *int32  `json:"rebufferCount"`
	RebufferTimeMs     *int64  `json:"rebufferTimeMs"`
}

type session struct {
	SessionID              string   `json:"sessionId"`
	Timestamp              int64    `json:"timestamp"`
	SessionStartDateIso    string   `json:"sessionStartDateIso"`
	SessionDurationMs      int64    `json:"sessionDurationMs"`
	StartupTimeMs          *int64   `json:"startupTimeMs"`
	RebufferTimeMs         *int64   `json:"rebufferTimeMs"`
	RebufferCount          *int32   `json:"rebufferCount"`
	PlayTimeMs             *int64   `json:"playTimeMs"`
	RebufferRatio          *float32 `json:"rebufferRatio"`
	TotalDroppedFrames     *int64   `json:"totalDroppedFrames"`
	TotalSeekCount         *int32   `json:"totalSeekCount"`
	TotalSeekTimeMs        *int64   `json:"totalSeekTimeMs"`
	MeanVideoFormatBitrate *int64   `json:"meanVideoFormatBitrate"`
	ErrorCount             *int32   `json:"errorCount"`
	DeviceModel            *string  `json:"deviceModel"`
	OsVersion              *int32   `json:"osVersion"`
	SdkVersion             *string  `json:"sdkVersion"`
	ConnectionType         *string  `json:"connectionType"`
	TimelineEvents         []entry  `json:"timelineEvents"`
}

func negative64(values ...*int64) bool {
	for _, value := range values {
		if value != nil && *value < 0 {
			return true
		}
	}
	return false
}

func negative32(values ...*int32) bool {
	for _, value := range values {
		if value != nil && *value < 0 {
			return true
		}
	}
	return false
}

func tooLong(values ...*string) bool {
	for _, value := range values {
		if value != nil && utf8.RuneCountInString(*value) > 256 {
			return true
		}
	}
	return false
}

func textWithin(value string, maximum int) bool {
	return value != "" && utf8.RuneCountInString(value) <= maximum
}

func instant(value int64) bool {
	return value > 0 && value <= maxTimestamp
}

func (e *entry) validate() error {
	switch e.PlaybackState {
	case "IDLE", "BUFFERING", "PLAYING", "PAUSED", "ENDED":
	default:
		return errors.New("invalid playbackState")
	}
	if e.TimestampMs == nil || e.ElapsedMs == nil || e.TotalDroppedFrames == nil || e.RebufferCount == nil ||
		e.RebufferTimeMs == nil {
		return errors.New("missing field in timelineEvents")
	}
	if !instant(*e.TimestampMs) || tooLong(e.NetworkType) || negative32(e.RebufferCount) ||
		negative64(e.ElapsedMs, e.CurrentBitrate, e.TotalDroppedFrames, e.BufferedDurationMs, e.RebufferTimeMs) {
		return errors.New("value out of range in timelineEvents")
	}
	return nil
}

func (s *session) validate() error {
	if !textWithin(s.SessionID, 128) || !textWithin(s.SessionStartDateIso, 64) {
		return errors.New("missing or invalid required field")
	}
	if !instant(s.Timestamp) || s.SessionDurationMs <= 0 {
		return errors.New("timestamp and sessionDurationMs must be positive")
	}
	// Media3's "unset".
	if s.MeanVideoFormatBitrate != nil && *s.MeanVideoFormatBitrate == -1 {
		s.MeanVideoFormatBitrate = nil
	}
	if negative64(s.StartupTimeMs, s.RebufferTimeMs, s.PlayTimeMs, s.TotalDroppedFrames, s.TotalSeekTimeMs,
		s.MeanVideoFormatBitrate) || negative32(s.RebufferCount, s.TotalSeekCount, s.ErrorCount, s.OsVersion) {
		return errors.New("value must not be negative")
	}
	if s.RebufferRatio != nil && (*s.RebufferRatio < 0 || *s.RebufferRatio > 1) {
		return errors.New("rebufferRatio must be from 0 to 1")
	}
	if tooLong(s.DeviceModel, s.SdkVersion, s.ConnectionType) || len(s.TimelineEvents) > maxEntries {
		return errors.New("value too long")
	}
	for i := range s.TimelineEvents {
		if err := s.TimelineEvents[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) row() []interface{} {
	return []interface{}{
		s.SessionID, s.Timestamp, s.SessionStartDateIso, s.SessionDurationMs, s.StartupTimeMs, s.RebufferTimeMs,
		s.RebufferCount, s.PlayTimeMs, s.RebufferRatio, s.TotalDroppedFrames, s.TotalSeekCount, s.TotalSeekTimeMs,
		s.MeanVideoFormatBitrate, s.ErrorCount, s.DeviceModel, s.OsVersion, s.SdkVersion, s.ConnectionType,
	}
}

func store(ctx context.Context, pool *pgxpool.Pool, s *session) error {
	if len(s.TimelineEvents) == 0 {
		_, err := pool.Exec(ctx, upsertSession, s.row()...)
		return err
	}
	batch := &pgx.Batch{}
	batch.Queue(upsertSession, s.row()...)
	for i := range s.TimelineEvents {
		e := &s.TimelineEvents[i]
		batch.Queue(insertEntry, s.SessionID, e.TimestampMs, e.ElapsedMs, e.PlaybackState, e.CurrentBitrate,
			e.NetworkType, e.TotalDroppedFrames, e.BufferedDurationMs, e.RebufferCount, e.RebufferTimeMs)
	}
	results := pool.SendBatch(ctx, batch)
	for i := 0; i < batch.Len(); i++ {
		if _, err := results.Exec(); err != nil {
			results.Close()
			return err
		}
	}
	return results.Close()
}

func answer(w http.ResponseWriter, status int, body interface{}) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

type server struct {
	apiKey []byte
	pool   *pgxpool.Pool
}

func (srv *server) postSession(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		answer(w, http.StatusMethodNotAllowed, map[string]string{"message": "method not allowed"})
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-API-Key")), srv.apiKey) != 1 {
		answer(w, http.StatusUnauthorized, map[string]string{"message": "Invalid or missing API Key"})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, map[string]string{"message": err.Error()})
		return
	}
	var s session
	if err := json.Unmarshal(body, &s); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"message": err.Error()})
		return
	}
	if err := s.validate(); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"message": err.Error()})
		return
	}
	if err := store(r.Context(), srv.pool, &s); err != nil {
		log.Print(err)
		answer(w, http.StatusServiceUnavailable, map[string]string{"message": "Temporary storage issue"})
		return
	}
	answer(w, http.StatusOK, struct {
		Status    string `json:"status"`
		SessionID string `json:"sessionId"`
	}{"success", s.SessionID})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		log.Fatal(err)
	}
	config.MaxConns = 20
	pool, err := pgxpool.ConnectConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	srv := &server{apiKey: []byte(os.Getenv("M3W_API_KEY")), pool: pool}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/sessions", srv.postSession)
	mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "healthy"})
	})
	front := &http.Server{Addr: "127.0.0.1:" + os.Args[1], Handler: mux}
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		front.Shutdown(grace)
	}()
	if err := front.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
