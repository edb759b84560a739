package geminilocal

import (
	"encoding/json"
	"net/http"
)

// admin registers the endpoints that tests steer the stand-in with.
func (s *Server) admin(mux *http.ServeMux) {
	mux.HandleFunc("POST /admin/script", s.addScript)
	mux.HandleFunc("DELETE /admin/script", func(w http.ResponseWriter, r *http.Request) {
		in := s.session(r)
		in.mu.Lock()
		in.steps = nil
		in.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /admin/calls", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, s.session(r).snapshot())
	})
	mux.HandleFunc("DELETE /admin/calls", func(w http.ResponseWriter, r *http.Request) {
		in := s.session(r)
		in.mu.Lock()
		in.total, in.counts, in.recorded = 0, nil, nil
		in.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT /admin/latency", s.setLatency)
}

func (s *Server) addScript(w http.ResponseWriter, r *http.Request) {
	var script struct {
		Steps []Step `json:"steps"`
	}
	if !readAdmin(w, r, &script) {
		return
	}
	for i := range script.Steps {
		if err := script.Steps[i].validate(); err != nil {
			writeError(w, invalidf("steps[%d]: %s", i, err))
			return
		}
	}
	in := s.session(r)
	in.mu.Lock()
	in.steps = append(in.steps, script.Steps...)
	in.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) setLatency(w http.ResponseWriter, r *http.Request) {
	var l latency
	if !readAdmin(w, r, &l) {
		return
	}
	in := s.session(r)
	in.mu.Lock()
	in.latency = &l
	in.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// readAdmin decodes an admin request strictly: a misspelled field in a script must not pass for a test that passes.
func readAdmin(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		writeError(w, invalidf("the admin request cannot be read: %s", err))
		return false
	}
	return true
}

// identified refuses admin requests that do not say whose session they mean.
func identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if apiKey(r) == "" && r.Header.Get("X-Standin-Session") == "" {
			writeError(w, invalidf("send x-goog-api-key or x-standin-session: a script belongs to one of them"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
