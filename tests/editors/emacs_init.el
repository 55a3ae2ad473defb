;;; -*- lexical-binding: t; -*-  emacs -nw -Q -l emacs_init.el: as a user's init file, with GLM_SETUP/emacs on the path.
(setq inhibit-startup-screen t make-backup-files nil auto-save-default nil create-lockfiles nil
      use-short-answers t eglot-sync-connect nil eglot-report-progress 'messages visible-bell t ring-bell-function #'ignore)
;; Its native compiler is not where it was built for.
(setq native-comp-jit-compilation nil)
(add-to-list 'load-path (expand-file-name "emacs" (getenv "GLM_SETUP")))
(require 'glm-lsp)
(glm-lsp-setup)
(add-hook 'python-base-mode-hook #'eglot-ensure)
(global-set-key (kbd "<f5>") #'eglot-code-actions)
(global-set-key (kbd "<f6>") #'glm-lsp-status)
(global-set-key (kbd "<f7>") #'glm-lsp-explain)
(global-set-key (kbd "<f8>") #'eglot-reconnect)

;; What the test asks for: a function key tells it in the echo area, and `*Messages*' is a file.
(defun glm-test (form)
  "Evaluate FORM and write what it says to GLM_SAYS."
  (interactive (list (read--expression "Test: ")))
  (let ((said (condition-case problem (eval form t) (error problem))))
    (write-region (prin1-to-string said) nil (getenv "GLM_SAYS") nil 'quiet)))
(global-set-key (kbd "<f9>") #'glm-test)
