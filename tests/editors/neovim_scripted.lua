-- nvim --headless --clean -n -S neovim_scripted.lua: the plugin with an engine that says what it is told.
local t = dofile(vim.fs.joinpath(vim.fs.dirname(debug.getinfo(1).source:sub(2)), 'neovim_lib.lua'))
local GHOST = vim.lsp.inline_completion ~= nil
vim.g.glm_lsp = { off = { 'text' } }
vim.lsp.enable('glm_lsp')
require('glm_lsp.config').restart_after_s = 0

local BODY = '\n    width, height = box\n    return width * height'
local function script(change) t.ask('test/script', change) end
local function requests() return t.ask('test/engine').requests end

t.run(function()
  local client = t.open(vim.env.GLM_FILE)
  if not t.claim('the server attaches', client) then return end
  t.settled()
  local before = t.text()

  -- Completions
  t.type('def area(box):')
  t.claim('a completion of several lines appears while typing', t.shows(BODY), { t.shown(), t.messages })
  if GHOST then
    local asked = requests()
    t.keys('<M-Right>')
    t.claim('a word of it is accepted', t.eventually(5, function() return vim.endswith(t.text(), '\n    width') end), t.text())
    t.claim('the rest stands there again', t.shows(', height = box\n    return width * height'), t.ghost())
    t.keys('<M-Down>')
    t.claim('a line of it is accepted', t.eventually(5, function() return vim.endswith(t.text(), 'height = box') end), t.text())
    t.claim('the next line stands there', t.shows('\n    return width * height'), t.ghost())
    t.keys('<CR>ret')
    t.claim('typing along keeps the rest', t.shows('urn width * height'), { t.ghost(), t.text() })
    t.claim('and asks no engine', requests() == asked, requests())
    t.keys('<Tab>')
    t.claim('<Tab> accepts all of it', t.eventually(5, function() return vim.endswith(t.text(), 'def area(box):' .. BODY) end), t.text())
  else
    t.claim('nothing is inserted that nobody chose', not t.has('width'), t.text())
    t.keys('<C-n><C-y>')
    t.claim('the item is accepted', t.eventually(5, function() return vim.endswith(t.text(), 'def area(box):' .. BODY) end), t.text())
  end

  t.reset(before)
  t.type('def area(box):')
  t.shows(BODY)
  script({ typing = '(1)' })
  t.keys('  # wide')
  t.claim('typing something else ends it', t.eventually(5, function() return t.shown() ~= BODY and not t.has('width') end), t.shown())

  -- The engine's word after the repository's
  t.reset(before)
  script({ typing = 'names)', held = true })
  t.type('    for path in join_names(directory, os.')
  t.claim('while the engine is slow the repository says it', t.shows('listdir(directory)):'), { t.shown(), t.messages })
  script({ held = false })
  t.claim('and the engine\'s own answer follows', t.shows('names)'), { t.shown(), t.messages })

  -- Who has left is not asked for
  t.reset(before)
  script({ held = true })
  t.type('    for path in join_names(directory, os.')
  t.shows('listdir(directory)):')
  t.keys('<Esc>')
  t.pause(300)
  local again = 0
  local watch = vim.api.nvim_create_autocmd('LspRequest', { callback = function(args)
    local request = args.data.request
    local asks = request.method == 'textDocument/inlineCompletion' or request.method == 'textDocument/completion'
    again = again + ((request.type == 'pending' and asks) and 1 or 0)
  end })
  script({ held = false })
  t.pause(700)
  vim.api.nvim_del_autocmd(watch)
  t.claim('nothing is asked for who has left insert mode', again == 0, again)

  -- A file that something else writes: Neovim does not tell of it on Linux
  t.reset(before)
  local file = assert(io.open(vim.fs.joinpath(vim.fs.dirname(vim.env.GLM_FILE), 'ledger.py'), 'w'))
  file:write('def post_entry(account, amount, currency):\n    return account, amount, currency\n')
  file:close()
  t.pause(1000) -- as long as somebody needs who comes back from a terminal
  t.type('from ledger import post_entry<CR>post_entry(')
  t.shows('names)')
  t.claim('it is known to the next request', t.ask('test/prompt').text:find('def post_entry(account, amount, currency)', 1, true),
    t.ask('test/prompt').text)

  -- An action
  t.reset(before)
  local row = vim.fn.search('^def count_lines')
  local function document()
    vim.api.nvim_win_set_cursor(0, { row, 4 })
    t.action('document count_lines')
    return t.eventually(20, function() return t.window() end)
  end
  local diff = document()
  t.claim('an edit is shown as a diff', diff and diff:find('\n+    """Say what this does, shortly."""', 1, true), { diff, t.messages })
  t.claim('the cursor stays where it was', vim.api.nvim_get_current_buf() == t.buffer)
  t.claim('nothing is changed yet', t.text() == before, t.text())
  vim.cmd.GlmDiscard()
  t.claim('it can be discarded', t.eventually(5, function() return not t.window() end) and t.text() == before, t.text())
  t.messages = {}
  document()
  vim.cmd.GlmApply()
  t.claim('and applied', t.eventually(5, function() return t.has('"""Say what this does, shortly."""') end), { t.text(), t.messages })
  vim.cmd('silent undo')
  t.claim('undo takes it back', t.text() == before, t.text())
  document()
  vim.api.nvim_buf_set_lines(t.buffer, 0, 0, false, { '# typed meanwhile' })
  vim.cmd.GlmApply()
  t.claim('an edit of another text is not applied', t.eventually(5, function() return t.told('has changed') end) and
    t.text() == '# typed meanwhile\n' .. before, { t.messages, t.text() })
  t.reset(before)
  document()
  local _, window = t.window()
  vim.api.nvim_win_close(window, true)
  t.pause(500)
  vim.cmd.GlmApply()
  t.claim('closing the window discards it, and nobody is told', t.told('no edit is shown') and #t.messages == 1 and t.text() == before, t.messages)

  -- An explanation
  t.reset(before)
  script({ other = 'It counts lines.' })
  vim.cmd(('%dGlmExplain'):format(row))
  t.claim('an explanation is shown below', t.eventually(20, function() return t.window() == 'It counts lines.' end), { t.window(), t.messages })
  vim.cmd('only')

  -- Progress
  script({ held = true })
  local line_of = require('glm_lsp').statusline
  t.claim('the status line says what serves', t.eventually(5, function() return line_of():match('^GLM %S') and line_of() ~= 'GLM …' end), line_of())
  vim.cmd(('%dGlmExplain'):format(row))
  t.claim('and what is done', t.eventually(20, function() return line_of():lower():find('explain') end), line_of())
  script({ held = false })
  t.claim('until it is done', t.eventually(20, function() return not line_of():lower():find('explain') end), line_of())
  vim.cmd('only')

  -- Off and on
  script({ typing = BODY })
  vim.cmd.GlmToggle()
  t.type('def area(box):')
  t.pause(1000)
  t.claim('what is off is silent', not t.shown() and line_of() == 'GLM off', { t.shown(), line_of() })
  t.reset(before)
  vim.cmd.GlmToggle()
  t.type('def area(box):')
  t.claim('and on again', t.shows(BODY), t.shown())

  -- Deaths
  t.reset(before)
  script({ dies = 'The engine has died; the next request starts another.', typing = ' + 1' })
  t.type('total = 2')
  t.claim('the engine\'s death is a sentence', t.eventually(20, function() return t.told('The engine has died') end), t.messages)
  t.reset(before)
  t.type('total = 3')
  t.claim('and the next request is served', t.shows(' + 1'), { t.shown(), t.messages })
  t.reset(before)
  local pid = t.ask('test/process').pid
  vim.uv.kill(pid, 'sigkill')
  t.claim('the server\'s death is a sentence', t.eventually(10, function() return t.told('signal 9') end), t.messages)
  local again = t.eventually(60, function()
    local other = t.client()
    return other and other.id ~= client.id and other.initialized and other
  end)
  t.claim('another server is started', again, t.messages)
  t.settled()
  t.type('def area(box):')
  t.claim('and serves', t.shows(BODY), { t.shown(), t.messages })
  t.reset(before)
  vim.cmd.GlmRestart()
  local third = t.eventually(60, function()
    local other = t.client()
    return other and other.id ~= again.id and other.initialized and other
  end)
  t.claim(':GlmRestart starts another', third, t.messages)
  t.claim('and tells of no death', not t.told('has ended'), t.messages)
  t.settled()

  -- Health
  vim.cmd('checkhealth glm_lsp')
  local report = table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), '\n')
  t.claim('checkhealth finds nothing wrong', not report:find('ERROR') and not report:find('WARNING') and report:find('symbols', 1, true), report)
  t.note(report)
end)
