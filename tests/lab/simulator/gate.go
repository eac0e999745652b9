package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	cookieName = "vmware_soap_session"
	// stands for notes that are set to nothing, which the simulator cannot tell from notes left alone
	emptyAnnotation = "vmferry-lab:empty-annotation"
)

// gate stands before the simulator's HTTP handler: authentication on /folder, mending of the wire format, faults.
type gate struct {
	lab  *Lab
	next http.Handler
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/sdk" || r.URL.Path == "/sdk/vimService":
		g.serveSOAP(w, r)
	case strings.HasPrefix(r.URL.Path, "/folder"):
		g.serveFolder(w, r)
	default:
		g.next.ServeHTTP(w, r)
	}
}

var (
	arrays = regexp.MustCompile(`type="ArrayOf(\w+)"`)
	enums  = regexp.MustCompile(`<(\w+(?:State|Status|Type|Family|Mode|Level|Priority))></(\w+)>`)
	empty  = regexp.MustCompile(`<returnval xmlns:_XMLSchema-instance="[^"]*" _XMLSchema-instance:type="[^"]*"></returnval>`)
	unset  = regexp.MustCompile(`<RetrievePropertiesExResponse xmlns="urn:vim25"><returnval><objects><obj type="\w+">[^<]*</obj></objects>` +
		`</returnval></RetrievePropertiesExResponse>`)
	noRef   = regexp.MustCompile(`<\w+ type=""></\w+>`)
	noNotes = regexp.MustCompile(`<annotation(?: [^>]*)?(?:/>|></annotation>)`)
)

// mend makes a SOAP reply look as vCenter's: array items carry their type (libvirt needs it), unset values, empty
// enums and references to nothing are absent (pyVmomi needs it).
func mend(b []byte) []byte {
	seen := map[string]bool{}
	for _, m := range arrays.FindAllSubmatch(b, -1) {
		if t := string(m[1]); !seen[t] {
			seen[t] = true
			b = bytes.ReplaceAll(b, []byte("<"+t+">"), []byte("<"+t+` xsi:type="`+t+`">`))
			b = bytes.ReplaceAll(b, []byte("<"+t+" type="), []byte("<"+t+` xsi:type="`+t+`" type=`))
		}
	}
	return noRef.ReplaceAll(enums.ReplaceAll(empty.ReplaceAll(b, nil), nil), nil)
}

func (g *gate) serveSOAP(w http.ResponseWriter, r *http.Request) {
	request, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "body", http.StatusBadRequest)
		return
	}
	if bytes.Contains(request, []byte("<ReconfigVM_Task")) {
		request = noNotes.ReplaceAll(request, []byte("<annotation>"+emptyAnnotation+"</annotation>"))
	}
	r.Body = io.NopCloser(bytes.NewReader(request))
	r.ContentLength = int64(len(request))
	recorded := httptest.NewRecorder()
	g.next.ServeHTTP(recorded, r)
	reply := mend(recorded.Body.Bytes())
	reply = bytes.ReplaceAll(reply, []byte("<apiType>VirtualCenter<"), []byte("<apiType>"+g.lab.cfg.APIType+"<"))
	if bytes.Contains(request, []byte("<Fetch ")) { // an unset property: the simulator gives the wrong response
		reply = unset.ReplaceAll(reply, []byte(`<FetchResponse xmlns="urn:vim25"></FetchResponse>`))
	}
	for _, cookie := range recorded.Header()["Set-Cookie"] {
		w.Header().Add("Set-Cookie", cookie)
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	out := g.lab.faults.disturb(w, r.URL.Path, 0, int64(len(reply)))
	if out == nil {
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
	w.WriteHeader(recorded.Code)
	_, _ = out.Write(reply) // the client went away
}

// call sends a SOAP body to the simulator in process.
func (g *gate) call(body string, cookie *http.Cookie) *http.Response {
	r := httptest.NewRequest(http.MethodPost, "/sdk",
		strings.NewReader(`<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>`+body+`</Body></Envelope>`))
	if cookie != nil {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	g.next.ServeHTTP(w, r)
	return w.Result()
}

var xmlText = strings.NewReplacer("&", "&amp;", "<", "&lt;")

// authorized accepts a session's cookie or, as vCenter does on /folder, a password.
func (g *gate) authorized(w http.ResponseWriter, r *http.Request) bool {
	if c, err := r.Cookie(cookieName); err == nil {
		c.Value = strings.Trim(c.Value, `"`)
		if g.lab.seen(c.Value) {
			return true
		}
		reply := g.call(`<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime>`, c)
		if reply.StatusCode == http.StatusOK {
			g.lab.see(c.Value)
		}
		return reply.StatusCode == http.StatusOK
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		return false
	}
	reply := g.call(fmt.Sprintf(`<Login xmlns="urn:vim25"><_this type="SessionManager">SessionManager</_this>`+
		`<userName>%s</userName><password>%s</password></Login>`, xmlText.Replace(user), xmlText.Replace(password)), nil)
	for _, c := range reply.Cookies() {
		w.Header().Add("Set-Cookie", c.Name+`="`+c.Value+`"; Path=/; HttpOnly; Secure; `)
	}
	return reply.StatusCode == http.StatusOK
}

const trusted = 200 * time.Millisecond // asking after a session takes longer than sending a small range

// seen says whether a session was alive a moment ago.
func (l *Lab) seen(cookie string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.sessions[cookie]) < trusted
}

func (l *Lab) see(cookie string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions[cookie] = time.Now()
}
