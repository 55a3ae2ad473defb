;;; glm-lsp.el --- Completions and edits by GLM, through Eglot  -*- lexical-binding: t; -*-

;; Package-Requires: ((emacs "30.1"))
;; Keywords: tools, languages

;;; Commentary:

;; With `glm-lsp' on the PATH of Emacs, in your init file:
;;
;;   (add-to-list 'load-path "/path/to/editors/emacs")
;;   (require 'glm-lsp)
;;   (glm-lsp-setup)
;;   (add-hook 'python-base-mode-hook #'eglot-ensure)
;;
;; Eglot talks to one server per buffer.  `glm-lsp-setup' takes the modes in
;; `glm-lsp-modes'; leave out those in which you want another server.
;;
;;   C-M-i                        the completion at point (`completion-at-point',
;;                                or whatever you complete with)
;;   M-x completion-preview-mode  in Emacs 30: ghost text while you type, from the
;;                                third letter of a word on; TAB takes all of it
;;   M-x eglot-code-actions       document, fix, explain, continue, refactor
;;   M-x glm-lsp-refactor         change the region, or the line, as you say
;;   M-x glm-lsp-explain          explain the region, or the line
;;   M-x glm-lsp-status           what serves, and what is indexed
;;   M-x eglot-reconnect          end the server and start another
;;
;; What is changed is shown as a diff first, in a window that is not selected:
;; C-c C-a there applies all of it, and `undo' takes it back.
;; Set `glm-lsp-preview' to nil to have edits applied at once.
;;
;; The engine, its address, its key and the model are read from your own
;; settings file (`glm-lsp settings' shows where), never from here.  Settings that
;; a project may set go into `eglot-workspace-configuration':
;;
;;   (setq-default eglot-workspace-configuration
;;                 '(:glm-lsp (:completion (:multiline :json-false))))

;;; Code:

(require 'cl-lib)
(require 'eglot)
(require 'jsonrpc)

(defgroup glm-lsp nil
  "Completions and edits by GLM."
  :group 'eglot
  :prefix "glm-lsp-")

(defcustom glm-lsp-command '("glm-lsp" "serve")
  "The server's program and its arguments."
  :type '(repeat string))

(defcustom glm-lsp-modes
  '(python-mode python-ts-mode
    (js-mode :language-id "javascript") (js-ts-mode :language-id "javascript")
    (typescript-ts-mode :language-id "typescript") (tsx-ts-mode :language-id "typescriptreact")
    go-mode go-ts-mode rust-mode rust-ts-mode java-mode java-ts-mode
    c-mode c-ts-mode (c++-mode :language-id "cpp") (c++-ts-mode :language-id "cpp"))
  "Major modes, with those derived from them, that `glm-lsp-setup' takes.
A mode whose name is not that of its language says the language's identifier."
  :type '(repeat sexp))

(defcustom glm-lsp-preview t
  "Whether edits are shown as a diff before they are applied."
  :type 'boolean)

(defclass glm-lsp-server (eglot-lsp-server) ()
  "A connection to glm-lsp.")

;;;###autoload
(defun glm-lsp-setup ()
  "Let Eglot use glm-lsp in `glm-lsp-modes'."
  (add-to-list 'eglot-server-programs (cons glm-lsp-modes #'glm-lsp--contact)))

(defun glm-lsp--contact (&rest _)
  "What Eglot has to start.
The server answers commands at once and goes on under progress: Emacs waits
for the answer of a command, and some take minutes."
  `(glm-lsp-server ,@glm-lsp-command
                   :initializationOptions (:quickCommands t :prompts t)))

;; What the server asks for comes at any time: it must not take the window, let
;; alone the keys, from who is typing.

(cl-defmethod eglot-handle-request :around
  ((_server glm-lsp-server) (_method (eql workspace/applyEdit)) &rest _)
  "Show an edit before it is applied, if `glm-lsp-preview' says so."
  (save-selected-window
    (let ((eglot-confirm-server-edits (and glm-lsp-preview 'diff)))
      (cl-call-next-method))))

(cl-defmethod eglot-handle-request
  ((_server glm-lsp-server) (_method (eql window/showDocument)) &key uri &allow-other-keys)
  "Show an explanation in another window."
  (let ((buffer (find-file-noselect (eglot-uri-to-path uri))))
    (with-current-buffer buffer (view-mode 1))
    (display-buffer buffer)
    '(:success t)))

(cl-defmethod eglot-execute :around ((server glm-lsp-server) action)
  "Ask for the instruction of a refactor that carries none."
  (let* ((command (or (plist-get action :command) action))
         (command (if (consp command) command action))
         (arguments (plist-get command :arguments))
         (argument (and (cl-plusp (length arguments)) (elt arguments 0))))
    (if (and (equal (plist-get command :command) "glm-lsp.refactor")
             (string-empty-p (or (plist-get argument :argument) "")))
        (let ((instruction (string-trim (read-string "What should change? "))))
          (unless (string-empty-p instruction)
            (glm-lsp--send server "refactor"
                           (plist-put (copy-sequence argument) :instruction instruction))))
      (cl-call-next-method))))

(defun glm-lsp--server ()
  "The connection of this buffer."
  (let ((server (eglot-current-server)))
    (if (cl-typep server 'glm-lsp-server)
        server
      (user-error "No glm-lsp serves this buffer: M-x eglot starts it"))))

(defun glm-lsp--send (server kind argument)
  "Have SERVER do KIND with ARGUMENT, without waiting for it."
  (jsonrpc-async-request
   server :workspace/executeCommand
   (list :command (concat "glm-lsp." kind) :arguments (vector argument))
   :success-fn #'ignore
   :error-fn (lambda (problem) (message "glm-lsp: %s" (plist-get problem :message)))))

(defun glm-lsp--region (beg end)
  "The argument of a command for the text from BEG to END."
  (list :uri (eglot-path-to-uri buffer-file-name)
        :range (list :start (eglot--pos-to-lsp-position beg)
                     :end (eglot--pos-to-lsp-position end))))

(defun glm-lsp--bounds ()
  "The region, or the line."
  (if (use-region-p)
      (list (region-beginning) (region-end))
    (list (line-beginning-position) (line-end-position))))

(defun glm-lsp-refactor (beg end instruction)
  "Change the text from BEG to END, or the line, as INSTRUCTION says."
  (interactive (append (glm-lsp--bounds) (list (read-string "What should change? "))))
  (let ((server (glm-lsp--server)))
    (eglot--signal-textDocument/didChange)
    (glm-lsp--send server "refactor"
                   (append (glm-lsp--region beg end) (list :instruction instruction)))))

(defun glm-lsp-explain (beg end)
  "Explain the text from BEG to END, or the line."
  (interactive (glm-lsp--bounds))
  (let ((server (glm-lsp--server)))
    (eglot--signal-textDocument/didChange)
    (glm-lsp--send server "explain" (glm-lsp--region beg end))))

(defun glm-lsp-status ()
  "Show what serves, what is indexed, and what the last completion cost."
  (interactive)
  (let ((status (jsonrpc-request (glm-lsp--server) :glm-lsp/status eglot--{})))
    (with-help-window "*glm-lsp status*"
      (cl-loop for (name value) on status by #'cddr
               do (princ (format "%-18s %s\n" (substring (symbol-name name) 1)
                                 (if (stringp value) value (json-serialize value
                                                                          :null-object nil
                                                                          :false-object :json-false))))))))

(provide 'glm-lsp)
;;; glm-lsp.el ends here
