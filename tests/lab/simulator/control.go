package main

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// callFault makes a call fail, or only its task; without a fault it is only late.
type callFault struct {
	Method, Fault, Message string
	Count, Skip, DelayMs   int
	Task                   bool
}

var errNoVM = errors.New("no such VM")

// controlHandler is the tests' own door, on a port of its own, behind a random token.
func (l *Lab) controlHandler() http.Handler {
	mux := http.NewServeMux()
	handle(mux, "/vm", func(r *http.Request, key string) (any, error) { return l.describe(key) })
	handle(mux, "/vms", func(_ *http.Request, _ struct{}) (any, error) { return l.list(), nil })
	handle(mux, "/add", func(r *http.Request, spec VMSpec) (any, error) {
		ref, err := l.add(r.Context(), spec)
		return ref.Value, err
	})
	handle(mux, "/power", func(_ *http.Request, p struct {
		ID        string
		On, Force bool
	}) (any, error) {
		ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: p.ID}
		if l.vm(ref) == nil {
			return nil, errNoVM
		}
		return nil, l.power(ref, p.On, p.Force)
	})
	handle(mux, "/fault", func(_ *http.Request, f callFault) (any, error) { return nil, l.addFault(f) })
	handle(mux, "/http-fault", func(_ *http.Request, f httpFault) (any, error) {
		l.faults.addHTTP(&f)
		return nil, nil
	})
	handle(mux, "/settings", func(_ *http.Request, change json.RawMessage) (any, error) {
		l.mu.Lock()
		err := json.Unmarshal(change, &l.settings)
		l.mu.Unlock()
		l.applySettings()
		return nil, err
	})
	handle(mux, "/privilege", func(_ *http.Request, p struct {
		ID      string
		Granted bool
	}) (any, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.denied[p.ID] = !p.Granted
		return nil, nil
	})
	handle(mux, "/expire-sessions", func(_ *http.Request, _ struct{}) (any, error) { return l.expireSessions(), nil })
	handle(mux, "/expire-leases", func(_ *http.Request, _ struct{}) (any, error) { return l.expireLeases(), nil })
	handle(mux, "/calls", func(_ *http.Request, _ struct{}) (any, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return maps.Clone(l.calls), nil
	})
	handle(mux, "/clear", func(_ *http.Request, _ struct{}) (any, error) {
		l.model.Service.ClearFaultRules()
		l.faults.clear()
		l.mu.Lock()
		l.settings = defaults
		clear(l.denied)
		clear(l.calls)
		l.mu.Unlock()
		l.applySettings()
		return nil, nil
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Lab-Token") != l.cfg.Token {
			http.Error(w, "token", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// handle registers a call with a JSON body of type T and a JSON reply.
func handle[T any](mux *http.ServeMux, path string, call func(*http.Request, T) (any, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var body T
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reply, err := call(r, body)
		switch {
		case errors.Is(err, errNoVM):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusConflict)
		default:
			_ = json.NewEncoder(w).Encode(reply) // the client went away
		}
	})
}

func (l *Lab) addFault(f callFault) error {
	if f.Fault == "" {
		l.faults.addDelay(&callDelay{Method: f.Method, DelayMs: f.DelayMs, Count: f.Count, Skip: f.Skip})
		return nil
	}
	if _, known := types.TypeFunc()(f.Fault); !known {
		return errors.New("unknown fault " + f.Fault)
	}
	if f.Task {
		l.faults.addTask(&taskFault{Method: f.Method, Fault: f.Fault, Count: f.Count, Skip: f.Skip})
		return nil
	}
	l.model.Service.AddFaultRule(&simulator.FaultInjectionRule{
		MethodName: f.Method, ObjectType: "*", ObjectName: "*", Probability: 1, FaultType: simulator.FaultTypeCustom,
		Fault: newFault(f.Fault), Message: f.Message, Delay: f.DelayMs, MaxCount: f.Count, SkipCount: f.Skip, Enabled: true})
	return nil
}

// expireSessions ends every session, as an idle timeout would.
func (l *Lab) expireSessions() int {
	own := &simulator.Session{Registry: simulator.NewRegistry(), Map: l.reg}
	sessions := own.Get(l.reg.SessionManager().Self).(*simulator.SessionManager)
	request := new(types.TerminateSession)
	for _, s := range sessions.SessionList {
		request.SessionId = append(request.SessionId, s.Key)
	}
	sessions.TerminateSession(&simulator.Context{Session: own, Map: l.reg}, request)
	l.mu.Lock()
	clear(l.sessions)
	l.mu.Unlock()
	return len(request.SessionId)
}

func (l *Lab) expireLeases() (n int) {
	l.mu.Lock()
	leases := maps.Clone(l.leases)
	l.mu.Unlock()
	for _, lease := range leases {
		if !lease.ended.Load() {
			lease.expire()
			n++
		}
	}
	return n
}
